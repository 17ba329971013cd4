"""What faults leave behind: of every command that writes, and of devices that lie."""
