"""Clients that use the service all the time, and remember every call.

```python
async with steady_load(shop, seed=1, folder=context.folder) as load:
    await load.settled()       # each kind of client had a good answer
    shop.postgresql.kill()     # a fault
    ...
    await load.settled()       # seconds until the first good answer, by kind of client
```
"""

from proofs.load.history import ABANDONED, Call, History
from proofs.load.load import CLIENTS, SETTINGS, Load, steady_load

__all__ = ["ABANDONED", "CLIENTS", "SETTINGS", "Call", "History", "Load", "steady_load"]
