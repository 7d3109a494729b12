"""What to do about a failed call: the right that is missing, the setting to correct."""
