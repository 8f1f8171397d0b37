"""What a stranger's tables say: columns, units, endpoints, cohorts; each reading with its evidence."""
