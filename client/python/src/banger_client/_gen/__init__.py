"""What is generated from the .proto files."""
