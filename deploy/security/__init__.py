"""Who may do what: Kafka's ACLs, Redis's users, Cassandra's roles, as data; docs/security.md says how to use them."""
