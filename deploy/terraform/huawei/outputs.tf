output "environment" {
  description = "The Huawei half of the relay's settings, but for the keys."
  value = {
    SYNC_URL = "https://oms.${var.region}.myhuaweicloud.com/v2/${var.project_id}/sync-tasks/${huaweicloud_oms_migration_sync_task.this.id}/events"
  }
}

output "task_id" {
  description = "For the other module."
  value       = huaweicloud_oms_migration_sync_task.this.id
}
