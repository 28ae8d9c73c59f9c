"""What only development needs: a PostgreSQL of its own, a worker beside the service, reload, the sample's
accounts. The production image is without this package: other code imports it late, where it needs it.
"""
