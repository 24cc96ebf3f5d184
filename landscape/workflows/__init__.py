"""What joins the rooms: the command line calls these."""
