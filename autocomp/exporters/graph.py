"""An ONNX graph that is being rewritten."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt


class Graph:
    """The nodes of an ONNX model, with what produces and uses each value.

    Attributes:
        model: the `ModelProto` that is changed.
    """

    def __init__(self, model: Any) -> None:
        self.model = model
        self._graph = model.graph
        self._names = {x.name for x in self._graph.initializer}
        self._names |= {x for node in self._graph.node for x in (*node.input, *node.output)}
        self._constants = {x.name: x for x in self._graph.initializer}

    @property
    def inputs(self) -> list[str]:
        """Names of the graph's inputs."""
        return [x.name for x in self._graph.input]

    def users(self, value: str) -> list[Any]:
        """Returns the nodes that take `value`, each once."""
        return [node for node in self._graph.node if value in node.input]

    def producer(self, value: str) -> Any | None:
        """Returns the node that makes `value`; None for an input or a constant."""
        return next((node for node in self._graph.node if value in node.output), None)

    def only_user(self, value: str) -> Any | None:
        """Returns the one node that takes `value`; None if there are others, or it is an output."""
        users = self.users(value)
        if len(users) != 1 or self.is_output(value):
            return None
        return users[0]

    def is_output(self, value: str) -> bool:
        """Whether the graph returns `value`."""
        return any(value == x.name for x in self._graph.output)

    def constant(self, value: str) -> npt.NDArray[Any] | None:
        """Returns a constant's array; None for anything else."""
        from onnx import numpy_helper

        found = self._constants.get(value)
        if found is not None:
            return np.asarray(numpy_helper.to_array(found))
        node = self.producer(value)
        if node is not None and node.op_type == "Constant":
            for attribute in node.attribute:
                if attribute.name == "value":
                    return np.asarray(numpy_helper.to_array(attribute.t))
        return None

    def fresh(self, name: str) -> str:
        """Returns `name`, with a number if there is a value of that name."""
        found, number = name, 1
        while found in self._names:
            number += 1
            found = f"{name}.{number}"
        self._names.add(found)
        return found

    def add_constant(self, name: str, array: npt.NDArray[Any]) -> str:
        """Adds a constant and returns its name."""
        from onnx import numpy_helper

        return self.add_tensor(numpy_helper.from_array(np.ascontiguousarray(array), name))

    def add_tensor(self, tensor: Any) -> str:
        """Adds a constant that is a `TensorProto` and returns its name, perhaps a new one."""
        tensor.name = self.fresh(tensor.name)
        self._graph.initializer.append(tensor)
        self._constants[tensor.name] = self._graph.initializer[-1]
        name: str = tensor.name
        return name

    def node(
        self, operator: str, inputs: Iterable[str], output: str, domain: str = "", **more: Any
    ) -> Any:
        """Returns a new node, which is not in the graph yet."""
        from onnx import helper

        name = f"{output}/{operator}"
        return helper.make_node(operator, list(inputs), [output], name, domain=domain, **more)

    def insert(self, before: Any, nodes: Iterable[Any]) -> None:
        """Puts nodes right before another one."""
        at = self._index(before)
        for node in nodes:
            self._graph.node.insert(at, node)
            at += 1

    def replace(self, old: Any, nodes: Iterable[Any]) -> None:
        """Puts nodes in the place of another one."""
        self.insert(old, nodes)
        del self._graph.node[self._index(old)]

    def remove(self, node: Any) -> None:
        """Takes a node out."""
        del self._graph.node[self._index(node)]

    def redirect(self, value: str, other: str) -> None:
        """Makes the users of `value` take `other`."""
        for node in self._graph.node:
            for i, name in enumerate(node.input):
                if name == value:
                    node.input[i] = other

    def rename(self, value: str, other: str) -> None:
        """Makes the node that makes `value` make `other` instead; nothing may use `value`."""
        node = self.producer(value)
        if node is None:
            raise ValueError(f"no node makes {value!r}")
        for i, name in enumerate(node.output):
            if name == value:
                node.output[i] = other

    def remove_input(self, name: str) -> Any:
        """Takes an input of the graph out and returns it."""
        index = self.inputs.index(name)
        found = self._graph.input[index]
        del self._graph.input[index]
        return found

    def restore(self, name: str, array: npt.NDArray[Any]) -> None:
        """Adds a constant under a name that nodes use already."""
        self._names.discard(name)
        self.add_constant(name, array)

    def prepend(self, nodes: Iterable[Any]) -> None:
        """Puts nodes, which may take constants only, before all others."""
        for at, node in enumerate(nodes):
            self._graph.node.insert(at, node)

    def clean(self) -> None:
        """Takes out what nothing uses, shapes, which the runtime infers, and notes.

        The tracer notes where in the source code each node comes from.
        """
        outputs = {x.name for x in self._graph.output}
        while True:
            used = outputs | {x for node in self._graph.node for x in node.input}
            unused = [n for n in self._graph.node if not any(x in used for x in n.output)]
            if not unused:
                break
            for node in unused:
                self.remove(node)
        kept = [x for x in self._graph.initializer if x.name in used]
        del self._graph.initializer[:]
        self._graph.initializer.extend(kept)
        self._constants = {x.name: x for x in self._graph.initializer}
        del self._graph.value_info[:], self._graph.metadata_props[:]
        for lot in (self._graph.node, self._graph.initializer, self._graph.input):
            for part in (*lot, *self._graph.output):
                part.doc_string = ""
                del part.metadata_props[:]

    def _index(self, node: Any) -> int:
        # nodes are compared by their outputs, which are unique; protobuf hands out new objects
        outputs = list(node.output)
        for i, found in enumerate(self._graph.node):
            if list(found.output) == outputs and found.op_type == node.op_type:
                return i
        raise ValueError(f"no node makes {outputs}")


def attribute(node: Any, name: str, default: Any = None) -> Any:
    """Returns the value of a node's attribute."""
    from onnx import helper

    for found in node.attribute:
        if found.name == name:
            return helper.get_attribute_value(found)
    return default
