"""What stores in SQL databases share: queries, rows and transactions, in the SQL of a ``Dialect``."""
