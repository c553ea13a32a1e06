"""The page for people: what they ask it for, what is searched, in which order it stands, and how it is written."""
