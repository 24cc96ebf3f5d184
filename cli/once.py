"""Options that are given once: a command line that sets one twice is refused, where the last would win silently."""

from __future__ import annotations

from collections import Counter
from typing import Any

from typer.core import TyperCommand, TyperOption

from landscape.errors import OptionError


class OnceCommand(TyperCommand):
    """A command whose options may be given once, but for those that collect values (`--set`), that count, and flags.

    A flag says the same however often it is given.
    """

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse as any command does.

        Raises:
            OptionError: an option is given twice.
        """
        if not ctx.resilient_parsing:
            _, _, given = self.make_parser(ctx).parse_args(list(args))
            for option, times in Counter(given).items():
                if times > 1 and isinstance(option, TyperOption) and not (option.multiple or option.is_flag):
                    raise OptionError(f"{option.opts[0]} is given {times} times; give it once.")
        return super().parse_args(ctx, args)
