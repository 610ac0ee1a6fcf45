"""The fake FCM: a process that answers like Google's API and tells what it was sent."""
