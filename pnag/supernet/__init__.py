"""The weight-sharing supernet: trained once, then any of its subnets evaluated and exported."""
