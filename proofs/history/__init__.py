"""The checker of histories: it knows what the shop promises, and nothing of the service's code.

```python
async with steady_load(shop, seed=1, folder=context.folder) as load:
    ...
faults = check(load.history, await final_state(load))
```
"""

from proofs.history.final import FinalState, final_state
from proofs.history.proof import PROOF
from proofs.history.rules import RULES, Judgement, check, judge

__all__ = ["PROOF", "RULES", "FinalState", "Judgement", "check", "final_state", "judge"]
