"""The fleet service: Android devices, their enrolment, heartbeats, commands and builds."""
