{{- define "oms-relay.name" -}}
{{- if contains "oms-relay" .Release.Name }}{{ .Release.Name | trunc 40 | trimSuffix "-" }}{{ else }}{{ printf "%s-oms-relay" .Release.Name | trunc 40 | trimSuffix "-" }}{{ end }}
{{- end }}

{{- define "oms-relay.selector" -}}
app.kubernetes.io/name: oms-relay
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "oms-relay.operatorSelector" -}}
app.kubernetes.io/name: oms-relay-operator
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "oms-relay.labels" -}}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end }}

{{- define "oms-relay.image" -}}
{{ .Values.image.repository }}{{ if .Values.image.digest }}@{{ .Values.image.digest }}{{ else }}:{{ .Values.image.tag | default .Chart.AppVersion }}{{ end }}
{{- end }}

{{- /* What a pod of any kind has around its container. Takes root, account, key (a Secret or empty). */ -}}
{{- define "oms-relay.pod" -}}
serviceAccountName: {{ .account }}
automountServiceAccountToken: false
enableServiceLinks: false
{{- with .root.Values.image.pullSecrets }}
imagePullSecrets:
  {{- range . }}
  - name: {{ . }}
  {{- end }}
{{- end }}
securityContext:
  runAsNonRoot: true
  runAsUser: 10001
  runAsGroup: 10001
  fsGroup: 10001
  seccompProfile:
    type: RuntimeDefault
{{- with .root.Values.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .root.Values.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
volumes:
  - name: tmp
    emptyDir:
      sizeLimit: 2Gi
  - name: huawei
    secret:
      secretName: {{ .root.Values.secrets.huawei }}
      defaultMode: 0440
      items:
        - key: hw_ak
          path: hw_ak
        - key: hw_sk
          path: hw_sk
{{- with .root.Values.secrets.destination }}
  - name: destination
    secret:
      secretName: {{ . }}
      defaultMode: 0440
      items:
        - key: obs_ak
          path: obs_ak
        - key: obs_sk
          path: obs_sk
{{- end }}
{{- with .key }}
  - name: alibaba
    secret:
      secretName: {{ . }}
      defaultMode: 0440
      items:
        - key: access_key_id
          path: access_key_id
        - key: access_key_secret
          path: access_key_secret
{{- end }}
{{- end }}

{{- /* What every container has. Takes root, key. */ -}}
{{- define "oms-relay.container" -}}
image: {{ include "oms-relay.image" .root }}
imagePullPolicy: {{ .root.Values.image.pullPolicy }}
envFrom:
  - configMapRef:
      name: {{ include "oms-relay.name" .root }}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities:
    drop: ["ALL"]
volumeMounts:
  - name: huawei
    mountPath: /run/secrets/huawei
    readOnly: true
  - name: tmp
    mountPath: /tmp
{{- if .root.Values.secrets.destination }}
  - name: destination
    mountPath: /run/secrets/destination
    readOnly: true
{{- end }}
{{- if .key }}
  - name: alibaba
    mountPath: /run/secrets/alibaba
    readOnly: true
{{- end }}
env:
  - name: HW_AK_FILE
    value: /run/secrets/huawei/hw_ak
  - name: HW_SK_FILE
    value: /run/secrets/huawei/hw_sk
{{- if .root.Values.secrets.destination }}
  - name: OBS_AK_FILE
    value: /run/secrets/destination/obs_ak
  - name: OBS_SK_FILE
    value: /run/secrets/destination/obs_sk
{{- end }}
{{- if .key }}
  - name: ALIBABA_CLOUD_ACCESS_KEY_ID_FILE
    value: /run/secrets/alibaba/access_key_id
  - name: ALIBABA_CLOUD_ACCESS_KEY_SECRET_FILE
    value: /run/secrets/alibaba/access_key_secret
{{- end }}
{{- end }}

{{- define "oms-relay.egress" -}}
- to:
    - namespaceSelector:
        matchLabels:
          kubernetes.io/metadata.name: kube-system
      podSelector:
        matchLabels:
          k8s-app: kube-dns
    - ipBlock:
        cidr: 169.254.20.10/32
  ports:
    - port: 53
      protocol: UDP
    - port: 53
      protocol: TCP
- ports:
    - port: 443
      protocol: TCP
{{- with .Values.networkPolicy.egress }}
{{ toYaml . }}
{{- end }}
{{- end }}
