"""Random BPMN models that SpiffWorkflow can run, for properties of whole executions."""

from __future__ import annotations

from random import Random

HEAD = '<definitions xmlns="http://www.omg.org/spec/BPMN/20100524/MODEL" targetNamespace="t">'
BLOCKS = ("task", "sequence", "choice", "loop", "parallel", "merge", "inclusive", "scope", "multiple", "boundary")


def make_scenario(seed: int, takes: str) -> str:
    """Each task throws the dice that the conditions ask for, so that loops come to an end."""
    return f"""
        seed: {seed}
        instances: 2
        until: 1m
        variables: {{dice: {{range: [1, 6]}}}}
        tasks: {{default: {{takes: {takes}, sets: {{dice: {{range: [1, 6]}}}}}}}}
    """


class RandomModel:
    """Builds one process out of nested blocks; each block has one element to enter and one to leave."""

    def __init__(self, seed: int, depth: int = 3, blocks: tuple[str, ...] | None = None) -> None:
        self.blocks = blocks or BLOCKS
        self.random = Random(seed)
        self.count = 0
        self.xml = f'{HEAD}<process id="p" isExecutable="true">{"".join(self.enclose(depth))}</process></definitions>'

    def new(self, kind: str) -> str:
        self.count += 1
        return f"{kind}{self.count}"

    def element(self, out: list[str], kind: str, attributes: str = "", content: str = "") -> str:
        name = self.new(kind)
        out.append(f'<{kind} id="{name}" {attributes}>{content}</{kind}>')
        return name

    def flow(self, out: list[str], source: str, target: str, condition: str = "") -> str:
        name = self.new("f")
        inner = f"<conditionExpression>{condition}</conditionExpression>" if condition else ""
        out.append(f'<sequenceFlow id="{name}" sourceRef="{source}" targetRef="{target}">{inner}</sequenceFlow>')
        return name

    def split(self, out: list[str], kind: str, branches: list[tuple[str, str]], condition: str = "") -> str:
        """Add a diverging gateway before some blocks; with a condition, the last flow is the default."""
        name = self.new(kind)
        flows = [
            self.flow(out, name, entry, condition if one < len(branches) - 1 else "")
            for one, (entry, _) in enumerate(branches)
        ]
        default = f'default="{flows[-1]}"' if condition else ""
        out.append(f'<{kind} id="{name}" {default}/>')
        return name

    def enclose(self, depth: int) -> list[str]:
        out: list[str] = []
        entry, leave = self.block(out, depth)
        self.flow(out, self.element(out, "startEvent"), entry)
        self.flow(out, leave, self.element(out, "endEvent"))
        return out

    def block(self, out: list[str], depth: int) -> tuple[str, str]:
        kind = "task" if depth == 0 else self.random.choice(self.blocks)
        return getattr(self, kind)(out, depth - 1)

    def task(self, out: list[str], _depth: int) -> tuple[str, str]:
        name = self.element(out, "serviceTask")
        return name, name

    def sequence(self, out: list[str], depth: int) -> tuple[str, str]:
        first, second = self.block(out, depth), self.block(out, depth)
        self.flow(out, first[1], second[0])
        return first[0], second[1]

    def branches(self, out: list[str], depth: int, split: str, join: str, condition: str = "") -> tuple[str, str]:
        inner = [self.block(out, depth) for _ in range(self.random.choice((2, 2, 3)))]
        entry, leave = self.split(out, split, inner, condition), self.element(out, join)
        for _, end in inner:
            self.flow(out, end, leave)
        return entry, leave

    def choice(self, out: list[str], depth: int) -> tuple[str, str]:
        return self.branches(out, depth, "exclusiveGateway", "exclusiveGateway", "dice &lt; 3")

    def parallel(self, out: list[str], depth: int) -> tuple[str, str]:
        return self.branches(out, depth, "parallelGateway", "parallelGateway")

    def merge(self, out: list[str], depth: int) -> tuple[str, str]:
        """Several tokens go on, one after the other or at the same time."""
        return self.branches(out, depth, "parallelGateway", "exclusiveGateway")

    def inclusive(self, out: list[str], depth: int) -> tuple[str, str]:
        return self.branches(out, depth, "inclusiveGateway", "inclusiveGateway", "dice &gt; 2")

    def loop(self, out: list[str], depth: int) -> tuple[str, str]:
        entry, inner = self.element(out, "exclusiveGateway"), self.block(out, depth)
        self.flow(out, entry, inner[0])
        dice, leave = self.task(out, 0)[0], self.element(out, "exclusiveGateway")
        self.flow(out, inner[1], dice)
        again = self.split(out, "exclusiveGateway", [(entry, ""), (leave, "")], "dice &lt; 4")
        self.flow(out, dice, again)
        return entry, leave

    def scope(self, out: list[str], depth: int) -> tuple[str, str]:
        name = self.element(out, "subProcess", content="".join(self.enclose(depth)))
        return name, name

    def multiple(self, out: list[str], depth: int) -> tuple[str, str]:
        sequential = self.random.choice(("true", "false"))
        loop = (
            f'<multiInstanceLoopCharacteristics isSequential="{sequential}"><loopCardinality>3</loopCardinality>'
            "</multiInstanceLoopCharacteristics>"
        )
        if self.random.random() < 0.5:
            name = self.element(out, "serviceTask", content=loop)
        else:
            name = self.element(out, "subProcess", content="".join(self.enclose(min(depth, 1))) + loop)
        return name, name

    def boundary(self, out: list[str], _depth: int) -> tuple[str, str]:
        host, leave = self.task(out, 0)[0], self.element(out, "exclusiveGateway")
        cancel = self.random.choice(("true", "false"))
        timer = '<timerEventDefinition><timeDuration>"PT2S"</timeDuration></timerEventDefinition>'
        event = self.element(out, "boundaryEvent", f'attachedToRef="{host}" cancelActivity="{cancel}"', timer)
        self.flow(out, host, leave)
        self.flow(out, event, leave)
        return host, leave
