"""What can be trained, one file each, and the methods and parts they share."""
