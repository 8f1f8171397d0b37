"""Two-sample accuracy: how well a linear classifier tells two cohorts apart."""

import numpy as np
from sklearn.covariance import ledoit_wolf

from cropkt.factors.facts.distances import Distance, DistanceMatrix
from cropkt.factors.facts.points import CohortPoints

FOLDS = 5


def two_sample_accuracy(cohorts: CohortPoints) -> DistanceMatrix:
    """Accuracy of a linear classifier that tells two cohorts' points apart, in patients it has not seen; 0.5 is chance.

    Linear discriminants with shrunk covariance (Ledoit and Wolf), five folds of patients; a cohort's accuracy is the
    mean over its patients of the share of their points put right, and the two cohorts count equally. The error allows
    for folds that share most of their training patients (Nadeau and Bengio, Machine Learning 2003). The diagonal is
    0.5.
    """
    points, owner, folds = cohorts.projected, cohorts.owner, cohorts.parts(FOLDS)
    count = len(points)
    # Means and covariances of each cohort without each fold, which all of its pairs share.
    means = np.array(
        [[of[fold != f].mean(axis=0) for f in range(FOLDS)] for of, fold in zip(points, folds, strict=True)]
    )
    shrunk = np.array(
        [[ledoit_wolf(of[fold != f])[0] for f in range(FOLDS)] for of, fold in zip(points, folds, strict=True)]
    )
    value, error = np.full((count, count), 0.5), np.zeros((count, count))
    for c in range(count):
        for d in range(c + 1, count):
            normal = np.linalg.solve((shrunk[c] + shrunk[d]) / 2, (means[c] - means[d])[..., None])[..., 0]
            middle = ((means[c] + means[d]) / 2 * normal).sum(axis=1)
            by_patient = []
            for which, sign in ((c, 1), (d, -1)):
                fold = folds[which]
                right = sign * ((points[which] * normal[fold]).sum(axis=1) - middle[fold]) > 0
                by_patient.append(np.bincount(owner[which], right) / np.bincount(owner[which]))
            value[c, d] = value[d, c] = np.mean([part.mean() for part in by_patient])
            variance = sum(part.var(ddof=1) / len(part) for part in by_patient) / 4 * (1 + FOLDS / (FOLDS - 1))
            error[c, d] = error[d, c] = np.sqrt(variance)
    return DistanceMatrix(value, error)


DISTANCE = Distance("accuracy", label="two-sample accuracy", measure=two_sample_accuracy)
