"""The log of looks at test clips: what was chosen after a look cannot be published by it.

Settings are chosen on validation clips of the splits `CHOSEN_ON`; what is published is measured on
test clips of the split `PUBLISHED_ON`, with settings that have not changed since the first look.
"""

import datetime
import json
import pathlib
from collections.abc import Mapping
from typing import Any

CHOSEN_ON, PUBLISHED_ON = (0, 1, 2), 7
# Keys that are no setting: names, places, and the training seeds that a row is the mean of.
NO_SETTING = ("name", "seed", "data.seed", "data.path", "augment.noise.path")


class Looks:
    """A dated line in ``looks.jsonl`` for each look at the test clips of a row.

    Args:
      folder: of the runs.
      defaults: of the config, dotted keys to values: a key that was not there at the first look is
        no change where it has its default.
    """

    def __init__(self, folder: pathlib.Path, defaults: Mapping[str, Any]) -> None:
        self.path = folder / "looks.jsonl"
        self._defaults = _settings(defaults)

    def check(self, row: str, config: Mapping[str, Any]) -> None:
        """Refuses a row whose settings are not those of its first look.

        Raises:
          SystemExit: with one line that names what has changed.
        """
        now = _settings(config)
        looks = (look for look in self._read() if look["row"] == row)
        split = "data.split_seed"
        first = next((look for look in looks if look["settings"][split] == now[split]), None)
        if first is None:
            return
        then = first["settings"]
        changed = [
            f"{key} from {then.get(key, self._defaults.get(key))!r} to {now[key]!r}"
            for key in sorted(now)
            if now[key] != then.get(key, self._defaults.get(key))
        ]
        if changed:
            raise SystemExit(
                f"{row}: changed since its test clips were looked at on {first['date'][:10]}:"
                f" {', '.join(changed)}; put that back, or choose on validation (--choose) and"
                " publish on a split that was not looked at (PUBLISHED_ON in benchmarks/looks.py)"
            )

    def log(self, row: str, config: Mapping[str, Any]) -> None:
        """Notes a look, with its date and the settings; to be called before results are read."""
        now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("a") as file:
            look = {"date": now, "row": row, "settings": _settings(config)}
            file.write(json.dumps(look) + "\n")

    def _read(self) -> list[dict[str, Any]]:
        if not self.path.exists():
            return []
        return [json.loads(line) for line in self.path.read_text().splitlines()]


def _settings(config: Mapping[str, Any]) -> dict[str, Any]:
    """As JSON has them: tuples are lists."""
    kept = {key: value for key, value in config.items() if key not in NO_SETTING}
    return json.loads(json.dumps(kept))
