"""Speed, memory and quality beside peers: what the tables of docs/ are made with."""
