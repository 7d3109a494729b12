# terraform test: nothing is made, the provider only tells its schema.

mock_provider "huaweicloud" {
  mock_resource "huaweicloud_oms_migration_sync_task" {
    defaults = {
      id = "5f0e8c6a-1d1b-4b8e-9a55-7d6f2c3b4a10"
    }
  }
}

variables {
  project_id             = "project"
  source_region          = "cn-hangzhou"
  source_bucket          = "my-photos"
  source_access_key      = "ak"
  source_secret_key      = "sk"
  destination_bucket     = "my-photos-copy"
  destination_access_key = "ak"
  destination_secret_key = "sk"
}

run "by_hand" {
  assert {
    condition     = huaweicloud_oms_migration_sync_task.this.consistency_check == "crc64"
    error_message = "The task compares contents."
  }

  assert {
    condition     = output.environment.SYNC_URL == "https://oms.cn-north-4.myhuaweicloud.com/v2/project/sync-tasks/5f0e8c6a-1d1b-4b8e-9a55-7d6f2c3b4a10/events"
    error_message = "The address of the task."
  }

  assert {
    condition     = length(huaweicloud_identity_group_role_assignment.relay) == 0
    error_message = "Without a group nothing is attached."
  }
}

run "a_group" {
  variables {
    group_id = "relays"
  }

  assert {
    condition     = huaweicloud_identity_group_role_assignment.relay[0].project_id == "project"
    error_message = "The policy holds in the project of the task."
  }
}
