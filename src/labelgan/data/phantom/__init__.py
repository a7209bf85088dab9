"""Labelled phantom patients: anatomy, lesions, scanners, and healthy slices of them."""

from labelgan.data.phantom.cohort import PhantomPatient, phantom_patient, write_phantom_cohort

__all__ = ["PhantomPatient", "phantom_patient", "write_phantom_cohort"]
