"""Access rights as data: Kafka's ACLs, Redis's users, Cassandra's roles. docs/guides/security.md is the guide."""
