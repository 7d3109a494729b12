terraform {
  required_version = ">= 1.5"

  required_providers {
    alicloud = {
      source = "aliyun/alicloud"
      # The event rule came with 1.255.
      version = ">= 1.255, < 2"
    }
  }
}

provider "alicloud" {
  region = var.region
}
