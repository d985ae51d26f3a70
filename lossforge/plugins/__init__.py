"""What is installed, described and examined; and new plugins, written from templates."""
