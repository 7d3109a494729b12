# SYNCHRONIZING as soon as it is made. An account has at most five of them.
resource "huaweicloud_oms_migration_sync_task" "this" {
  region                    = var.region
  description               = "keys from oms-relay"
  src_cloud_type            = "Aliyun"
  src_region                = var.source_region
  src_bucket                = var.source_bucket
  src_ak                    = var.source_access_key
  src_sk                    = var.source_secret_key
  dst_bucket                = var.destination_bucket
  dst_ak                    = var.destination_access_key
  dst_sk                    = var.destination_secret_key
  enable_metadata_migration = true
  # By OMS's default rule an overwrite of equal size, made while the older state is being copied, is lost.
  consistency_check = "crc64"
}

# In the project of the task, for the group of the user whose key is HW_AK.
resource "huaweicloud_identity_role" "relay" {
  name        = "oms-relay"
  description = "What oms-relay needs and nothing else"
  type        = "XA"
  policy      = file("${path.module}/../../policies/iam-policy.json")
}

resource "huaweicloud_identity_group_role_assignment" "relay" {
  count = var.group_id == null ? 0 : 1

  group_id   = var.group_id
  role_id    = huaweicloud_identity_role.relay.id
  project_id = var.project_id
}
