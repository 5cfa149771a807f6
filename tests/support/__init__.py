"""What tests share: builders, fixtures, strategies, fake and real servers."""
