#!/bin/sh
# Installed as /usr/local/bin/oms-relay: a command of oms-relay with the settings and secrets of this host's relays.
# Needs root, because they are root's alone. A key of your own in /etc/oms-relay/operator goes before the relays' key.
etc=/etc/oms-relay
while read -r name file; do
  for folder in operator credentials; do
    path=$etc/$folder/$file
    if [ -f "$path" ]; then
      export "${name}_FILE=$path"
      break
    fi
  done
done <<NAMES
HW_AK hw_ak
HW_SK hw_sk
OBS_AK obs_ak
OBS_SK obs_sk
ALIBABA_CLOUD_ACCESS_KEY_ID access_key_id
ALIBABA_CLOUD_ACCESS_KEY_SECRET access_key_secret
RELAY_CONSOLE_TOKEN console_token
NAMES
exec /opt/oms-relay/bin/oms-relay --env-file "$etc/relay.env" "$@"
