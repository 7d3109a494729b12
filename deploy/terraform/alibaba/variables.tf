variable "region" {
  description = "Region of the source bucket; queue and log bucket stand in the same one."
  type        = string
  default     = "cn-hangzhou"
}

variable "source_bucket" {
  description = "Bucket whose changes are synchronized. It exists and is not managed here."
  type        = string
}

variable "source_prefix" {
  description = "Only changes under this prefix are announced; empty for the whole bucket."
  type        = string
  default     = ""
}

variable "log_bucket" {
  description = "Bucket for records and dead letters; made here, and never a source bucket."
  type        = string

  validation {
    condition     = can(regex("^[a-z0-9][a-z0-9-]{1,61}[a-z0-9]$", var.log_bucket))
    error_message = "3..63 lower-case letters, digits and inner hyphens."
  }
}

variable "queue" {
  description = "Name of the queue; its dead-letter queue is called <queue>-dead."
  type        = string
  default     = "oss-events"
}

variable "visibility_seconds" {
  description = "How long a message that a relay took is hidden from the others. Relays renew at half time."
  type        = number
  default     = 60

  validation {
    condition     = var.visibility_seconds >= 10 && var.visibility_seconds <= 3600
    error_message = "10..3600 seconds."
  }
}

variable "retention_seconds" {
  description = "How long a message waits before MNS forgets it: the longest outage that costs nothing."
  type        = number
  default     = 604800

  validation {
    condition     = var.retention_seconds >= 86400 && var.retention_seconds <= 604800
    error_message = "86400..604800 seconds; 604800 (7 days) is what MNS keeps at most."
  }
}

variable "max_receive_count" {
  description = "Receives after which MNS moves a message to the dead-letter queue. Above RELAY_MAX_DELIVERIES (20): the relay's own dead letters say more."
  type        = number
  default     = 100

  validation {
    condition     = var.max_receive_count > 20
    error_message = "More than 20, the default of RELAY_MAX_DELIVERIES."
  }
}

variable "record_days" {
  description = "Days after which records of accepted keys expire. Failed records and dead letters stay."
  type        = number
  default     = 90
}

variable "task_id" {
  description = "Id of the OMS sync task, from the other module: records stand under it."
  type        = string
}

variable "propagate_deletions" {
  description = "Whether deletions are announced, too; the relays then need RELAY_DELETIONS=propagate."
  type        = bool
  default     = false
}

variable "operators" {
  description = "Names of the RAM users who run the commands; they exist. The operators' policy is attached to each."
  type        = set(string)
  default     = []
}

variable "cluster" {
  description = "The ACK cluster that runs the relays, for roles of its pods (RRSA): both addresses stand in the cluster's details. Null: no cluster."
  type = object({
    oidc_issuer       = string
    oidc_provider_arn = string
    namespace         = optional(string, "oms-relay")
    service_account   = optional(string, "oms-relay")
  })
  default = null

  validation {
    condition     = var.cluster == null || can(regex("^acs:ram::[0-9]+:oidc-provider/", var.cluster.oidc_provider_arn))
    error_message = "oidc_provider_arn is like acs:ram::1234567890123456:oidc-provider/ack-rrsa-c0123456789abcdef."
  }
}
