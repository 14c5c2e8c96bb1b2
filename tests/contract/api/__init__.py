"""The API on both ways to run, through a real server and real databases."""
