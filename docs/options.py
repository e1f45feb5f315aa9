"""The README's table of options (PYTHONPATH=. python docs/options.py): a row for each that its line says is shown."""

from style.command import Files
from style.options import markdown
from style.settings import Settings

if __name__ == "__main__":
    print("\n".join(markdown(Settings, Files)))
