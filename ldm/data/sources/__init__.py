"""Where captioned images come from: one file per kind of dataset behind one interface, and filters over them."""
