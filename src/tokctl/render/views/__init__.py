"""The presentation of each kind of result: its columns, sections and documents."""
