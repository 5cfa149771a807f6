"""How each kind of result is shown: its columns and documents. The formats are beside this folder."""
