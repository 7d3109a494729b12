variable "region" {
  description = "Region of the destination bucket. Synchronization tasks exist in cn-north-4, cn-east-3 and cn-southwest-2."
  type        = string
  default     = "cn-north-4"
}

variable "project_id" {
  description = "Id of the IAM project of that region: My Credentials, API Credentials."
  type        = string
}

variable "source_region" {
  description = "Region of the OSS source bucket, such as cn-hangzhou."
  type        = string
}

variable "source_bucket" {
  description = "OSS source bucket."
  type        = string
}

variable "source_access_key" {
  description = "Alibaba access key with which OMS reads the source bucket."
  type        = string
  sensitive   = true
}

variable "source_secret_key" {
  description = "Its secret."
  type        = string
  sensitive   = true
}

variable "destination_bucket" {
  description = "OBS destination bucket. It exists and is not managed here."
  type        = string
}

variable "destination_access_key" {
  description = "Huawei access key with which OMS writes the destination bucket."
  type        = string
  sensitive   = true
}

variable "destination_secret_key" {
  description = "Its secret."
  type        = string
  sensitive   = true
}

variable "group_id" {
  description = "Id of the IAM group of the user whose key is HW_AK: the policy is attached to it. Null: attach it by hand."
  type        = string
  default     = null
}
