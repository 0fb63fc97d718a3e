"""A drawn product catalog: shapes, surfaces, and the rule that makes rows of them."""
