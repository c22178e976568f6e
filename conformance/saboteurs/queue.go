package saboteurs

func queueSaboteurs() []Saboteur { return nil }
