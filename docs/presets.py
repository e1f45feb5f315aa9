"""The table of docs/presets.md (PYTHONPATH=. python docs/presets.py): what each preset says of itself."""

from style.recipes import markdown

if __name__ == "__main__":
    print("\n".join(markdown()))
