data "alicloud_account" "current" {}

locals {
  records = "oms_source_record/${var.task_id}"

  # Not ObjectCreated:*, which also announces every part of a multipart upload.
  changes = [
    "ObjectCreated:PutObject",
    "ObjectCreated:PostObject",
    "ObjectCreated:CopyObject",
    "ObjectCreated:AppendObject",
    "ObjectCreated:CompleteMultipartUpload",
    "ObjectCreated:PutSymlink",
    # What a replication from another bucket brings here.
    "ObjectReplication:ObjectCreated",
    "ObjectReplication:ObjectModified",
  ]
  # Only with RELAY_DELETIONS=propagate.
  deletions = [
    "ObjectRemoved:DeleteObject",
    "ObjectRemoved:DeleteObjects",
  ]
  events = concat(local.changes, var.propagate_deletions ? local.deletions : [])

  # RRSA: which account of the cluster may take which role.
  accounts = var.cluster == null ? {} : {
    relay    = var.cluster.service_account
    operator = "${var.cluster.service_account}-operator"
  }
  policies = {
    relay    = alicloud_ram_policy.relay.policy_name
    operator = alicloud_ram_policy.operator.policy_name
  }
}

resource "alicloud_message_service_queue" "dead" {
  queue_name               = "${var.queue}-dead"
  message_retention_period = var.retention_seconds
  visibility_timeout       = var.visibility_seconds
}

resource "alicloud_message_service_queue" "events" {
  queue_name               = var.queue
  message_retention_period = var.retention_seconds
  visibility_timeout       = var.visibility_seconds
  polling_wait_seconds     = 30

  dlq_policy {
    enabled                  = true
    dead_letter_target_queue = alicloud_message_service_queue.dead.queue_name
    max_receive_count        = var.max_receive_count
  }
}

# Works about ten minutes after it is made. A rule cannot be changed: every change makes another one.
resource "alicloud_message_service_event_rule" "changes" {
  rule_name   = "${var.queue}-rule"
  event_types = local.events

  match_rules = [
    [
      {
        match_state = "true"
        prefix      = "acs:oss:${var.region}:${data.alicloud_account.current.id}:${var.source_bucket}/${var.source_prefix}"
        suffix      = ""
        name        = ""
      }
    ]
  ]

  endpoint {
    endpoint_type  = "queue"
    endpoint_value = alicloud_message_service_queue.events.queue_name
  }
}

resource "alicloud_oss_bucket" "log" {
  bucket = var.log_bucket
  # Infrequent access would bill 64 KB for each record.
  storage_class = "Standard"

  lifecycle_rule {
    id      = "accepted-keys"
    prefix  = "${local.records}/success_object/"
    enabled = true

    expiration {
      days = var.record_days
    }
  }

  lifecycle_rule {
    id      = "log-objects"
    prefix  = "${local.records}/log/"
    enabled = true

    expiration {
      days = var.record_days
    }
  }

  # Claims of OMS's lists and places of deletions: used for two days at most.
  dynamic "lifecycle_rule" {
    for_each = ["arrival", "deletions"]

    content {
      id      = lifecycle_rule.value
      prefix  = "${local.records}/${lifecycle_rule.value}/"
      enabled = true

      expiration {
        days = 7
      }
    }
  }

  # Pulses of workers: each restart leaves one.
  lifecycle_rule {
    id      = "fleet"
    prefix  = "${local.records}/fleet/"
    enabled = true

    expiration {
      days = 2
    }
  }

  lifecycle {
    precondition {
      condition     = var.log_bucket != var.source_bucket
      error_message = "The log bucket is the source bucket: every record would announce itself."
    }
  }
}

resource "alicloud_oss_bucket_public_access_block" "log" {
  bucket              = alicloud_oss_bucket.log.bucket
  block_public_access = true
}

resource "alicloud_ram_policy" "relay" {
  policy_name = "oms-relay-${var.queue}"
  description = "What oms-relay needs, and nothing else."
  policy_document = templatefile("${path.module}/../../policies/ram-policy.json", {
    task_id           = var.task_id
    queue             = alicloud_message_service_queue.events.queue_name
    dead_letter_queue = alicloud_message_service_queue.dead.queue_name
    log_bucket        = alicloud_oss_bucket.log.bucket
    source_bucket     = var.source_bucket
  })
}

resource "alicloud_ram_policy" "operator" {
  policy_name = "oms-relay-${var.queue}-operator"
  description = "What the commands of oms-relay need."
  policy_document = templatefile("${path.module}/../../policies/ram-policy-operator.json", {
    queue             = alicloud_message_service_queue.events.queue_name
    dead_letter_queue = alicloud_message_service_queue.dead.queue_name
    log_bucket        = alicloud_oss_bucket.log.bucket
    source_bucket     = var.source_bucket
  })
}

# For ECS instances that run the relay. Commands there take a key of their own (deploy/systemd).
resource "alicloud_ram_role" "relay" {
  role_name   = "oms-relay-${var.queue}"
  description = "The role of machines that run oms-relay."
  assume_role_policy_document = jsonencode({
    Version = "1"
    Statement = [
      {
        Action    = "sts:AssumeRole"
        Effect    = "Allow"
        Principal = { Service = ["ecs.aliyuncs.com"] }
      }
    ]
  })
}

resource "alicloud_ram_role_policy_attachment" "relay" {
  role_name   = alicloud_ram_role.relay.role_name
  policy_name = alicloud_ram_policy.relay.policy_name
  policy_type = "Custom"
}

# For pods (RRSA): one role for the relays, one for the console and the commands.
resource "alicloud_ram_role" "pods" {
  for_each = local.accounts

  role_name   = "oms-relay-${var.queue}-${each.key}-pods"
  description = "The role of pods of ${each.value}."
  assume_role_policy_document = jsonencode({
    Version = "1"
    Statement = [
      {
        Action    = "sts:AssumeRole"
        Effect    = "Allow"
        Principal = { Federated = [var.cluster.oidc_provider_arn] }
        Condition = {
          StringEquals = {
            "oidc:iss" = var.cluster.oidc_issuer
            "oidc:aud" = "sts.aliyuncs.com"
            "oidc:sub" = "system:serviceaccount:${var.cluster.namespace}:${each.value}"
          }
        }
      }
    ]
  })
}

resource "alicloud_ram_role_policy_attachment" "pods" {
  for_each = local.accounts

  role_name   = alicloud_ram_role.pods[each.key].role_name
  policy_name = local.policies[each.key]
  policy_type = "Custom"
}

# The people who run the commands on machines.
resource "alicloud_ram_user_policy_attachment" "operators" {
  for_each = var.operators

  user_name   = each.value
  policy_name = alicloud_ram_policy.operator.policy_name
  policy_type = "Custom"
}
