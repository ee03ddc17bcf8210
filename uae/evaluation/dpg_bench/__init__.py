"""DPG-Bench: yes/no questions about the pictures of dense prompts."""
