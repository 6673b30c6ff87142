namespace Espalier.Training;

/// <summary>What a method adds to ordinary training: a term of the gradient, masks, something after each step.</summary>
public interface ITrainingHook
{
    /// <summary>Options of the method that decide which weights come out, as in <see cref="ITrainingTask.Identity"/>.</summary>
    IReadOnlyList<(string Name, string Value)> Identity => [];

    /// <summary>Whether it remembers something from step to step that is not in the network. Such a training cannot go on from a
    /// checkpoint, which does not have it.</summary>
    bool HasState => false;

    /// <summary>Before the forward pass of a micro-batch.</summary>
    void BeforeForward(in StepContext context) { }

    /// <summary>After the backward pass of a micro-batch: may add to the gradients, times the context's scale.</summary>
    void AfterBackward(in StepContext context) { }

    /// <summary>After the optimiser's step.</summary>
    /// <param name="step">The step that was done, from 1.</param>
    void AfterStep(long step) { }
}
