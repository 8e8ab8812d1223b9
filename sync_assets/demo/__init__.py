"""The demo: two private PostgreSQL servers, real listings, and the story told with them."""
