using Espalier.Tensors;

namespace Espalier.Compression;

/// <summary>A union-find over the entries of tensors' axes: entries that stand or fall together are one set.</summary>
internal sealed class EntryUnion
{
    private readonly Dictionary<(Tensor, int), int> first = [];
    private readonly List<int> parent = [];

    /// <summary>The set that an entry is in; entries of an axis that was never seen are sets of their own.</summary>
    public int Find(Tensor tensor, int axis, int entry) => Find(Node(tensor, axis) + entry);

    public int[] Sets(Tensor tensor, int axis)
    {
        int node = Node(tensor, axis);
        var sets = new int[tensor.Shape[axis]];
        for (int i = 0; i < sets.Length; i++) sets[i] = Find(node + i);
        return sets;
    }

    /// <summary>Block by block, all entries of both blocks become one set.</summary>
    public void Join(Coupling c)
    {
        int a = Node(c.A, c.AxisA) + c.StartA, b = Node(c.B, c.AxisB) + c.StartB;
        for (int i = 0; i < c.Count; i++)
        {
            for (int j = 0; j < c.BlockA; j++) Union(a + i * c.BlockA, a + i * c.BlockA + j);
            for (int j = 0; j < c.BlockB; j++) Union(a + i * c.BlockA, b + i * c.BlockB + j);
        }
    }

    private int Node(Tensor tensor, int axis)
    {
        if (first.TryGetValue((tensor, axis), out int node)) return node;
        node = parent.Count;
        first.Add((tensor, axis), node);
        for (int i = 0; i < tensor.Shape[axis]; i++) parent.Add(node + i);
        return node;
    }

    private int Find(int node)
    {
        int root = node;
        while (parent[root] != root) root = parent[root];
        while (parent[node] != root) (node, parent[node]) = (parent[node], root);
        return root;
    }

    // The earlier entry is the root: sets keep the order of the forward pass.
    private void Union(int a, int b)
    {
        (a, b) = (Find(a), Find(b));
        if (a < b) parent[b] = a;
        else if (b < a) parent[a] = b;
    }
}
