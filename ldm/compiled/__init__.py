"""A UNet's step as a compiled program, and the folder that programs are kept in."""
