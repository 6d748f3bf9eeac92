"""An export answers requests over REST and gRPC."""
