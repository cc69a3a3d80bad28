"""Access rights as data: Kafka's ACLs, Redis's users, Cassandra's roles. See docs/guides/security.md."""
