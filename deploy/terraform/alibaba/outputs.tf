output "environment" {
  description = "The Alibaba half of the relay's settings."
  value = {
    MNS_ENDPOINT          = "https://${data.alicloud_account.current.id}.mns.${var.region}.aliyuncs.com"
    MNS_QUEUE             = alicloud_message_service_queue.events.queue_name
    MNS_DEAD_LETTER_QUEUE = alicloud_message_service_queue.dead.queue_name
    OSS_ENDPOINT          = "https://oss-${var.region}-internal.aliyuncs.com"
    LOG_BUCKET            = alicloud_oss_bucket.log.bucket
  }
}

output "role" {
  description = "RAM role for ECS instances that run the relay."
  value       = alicloud_ram_role.relay.role_name
}

output "operator_policy" {
  description = "RAM policy for the people who run the commands."
  value       = alicloud_ram_policy.operator.policy_name
}

output "pod_roles" {
  description = "RAM roles of the pods, for the annotations of the service accounts (alibaba.role, alibaba.operatorRole of the chart)."
  value       = { for name, role in alicloud_ram_role.pods : name => role.role_name }
}
