"""The gateway: answers events for callers in any language, by HTTP (:mod:`.http`) and by gRPC (:mod:`.rpc`)."""
