terraform {
  required_version = ">= 1.5"

  required_providers {
    huaweicloud = {
      source = "huaweicloud/huaweicloud"
      # The sync task came with 1.61.
      version = ">= 1.61, < 2"
    }
  }
}

provider "huaweicloud" {
  region = var.region
}
