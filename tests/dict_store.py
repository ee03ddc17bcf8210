"""A bucket on a dictionary, as far as the registry needs one."""

import json

from uae.fingerprints import json_sha256
from uae.store.conditional import ChangedObject, Versioned


class DictStore:
    """The calls that the registry makes, on a dictionary."""

    def __init__(self):
        self.objects = {}

    def exists(self, key):
        return key in self.objects

    def get_json(self, key):
        return self.objects[key]

    def put_json(self, key, value):
        self.objects[key] = value

    def get_versioned(self, key):
        if key not in self.objects:
            return None
        return Versioned(json.dumps(self.objects[key]).encode(), json_sha256(self.objects[key]))

    def replace_json(self, key, value, *, replaces):
        found = self.get_versioned(key)
        if replaces != (found.etag if found else None):
            raise ChangedObject(key)
        self.put_json(key, value)

    def list(self, prefix):
        return sorted(key for key in self.objects if key.startswith(prefix))
