# terraform test: nothing is made, the provider only tells its schema.

mock_provider "alicloud" {
  mock_data "alicloud_account" {
    defaults = {
      id = "1234567890123456"
    }
  }
}

variables {
  source_bucket = "my-photos"
  log_bucket    = "my-log-bucket"
  task_id       = "5f0e8c6a-1d1b-4b8e-9a55-7d6f2c3b4a10"
}

run "machines" {
  command = plan

  assert {
    condition     = length(alicloud_ram_role.pods) == 0
    error_message = "Without a cluster no role of pods is made."
  }

  assert {
    condition     = alicloud_ram_role_policy_attachment.relay.policy_name == "oms-relay-oss-events"
    error_message = "The relays' role has the relays' policy."
  }

  assert {
    condition     = !contains(alicloud_message_service_event_rule.changes.event_types, "ObjectRemoved:DeleteObject")
    error_message = "Deletions are announced only if that is asked for."
  }

  assert {
    condition     = length(alicloud_oss_bucket.log.lifecycle_rule) == 5
    error_message = "Five folders expire."
  }
}

run "a_cluster_and_operators" {
  command = plan

  variables {
    operators           = ["alice", "bob"]
    propagate_deletions = true
    cluster = {
      oidc_issuer       = "https://oidc.example.com/c0123"
      oidc_provider_arn = "acs:ram::1234567890123456:oidc-provider/ack-rrsa-c0123"
    }
  }

  assert {
    condition     = strcontains(alicloud_ram_role.pods["operator"].assume_role_policy_document, "system:serviceaccount:oms-relay:oms-relay-operator")
    error_message = "The operators' role trusts the operators' account."
  }

  assert {
    condition     = alicloud_ram_role_policy_attachment.pods["operator"].policy_name == "oms-relay-oss-events-operator"
    error_message = "The operators' role has the operators' policy."
  }

  assert {
    condition     = alicloud_ram_role_policy_attachment.pods["relay"].policy_name == "oms-relay-oss-events"
    error_message = "The relays' role has the relays' policy."
  }

  assert {
    condition     = length(alicloud_ram_user_policy_attachment.operators) == 2
    error_message = "Each operator has the operators' policy."
  }

  assert {
    condition     = contains(alicloud_message_service_event_rule.changes.event_types, "ObjectRemoved:DeleteObject")
    error_message = "Deletions are announced."
  }
}

run "a_log_bucket_that_announces_itself" {
  command = plan

  variables {
    log_bucket = "my-photos"
  }

  expect_failures = [alicloud_oss_bucket.log]
}

run "a_provider_that_is_none" {
  command = plan

  variables {
    cluster = {
      oidc_issuer       = "https://oidc.example.com/c0123"
      oidc_provider_arn = "ack-rrsa-c0123"
    }
  }

  expect_failures = [var.cluster]
}
