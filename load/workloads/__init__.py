"""What is sent, when and by whom, as data. Nothing here opens a connection."""
